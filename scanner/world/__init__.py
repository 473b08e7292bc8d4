"""The drawn world: people who do not exist, with known truth."""
