"""``headrouter report``: one page that holds all of an evaluation and needs nothing else."""
