"""What ``headrouter push`` does: put a profile and its card on the Hugging Face Hub."""
