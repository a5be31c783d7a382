"""``headrouter`` and ``python -m calibrate``: Ctrl-C is taken care of before anything is loaded."""

from calibrate.terminal import interrupts


def main() -> None:
    """Run the command line."""
    interrupts.install()
    from calibrate.cli import main

    main()


if __name__ == "__main__":
    main()
