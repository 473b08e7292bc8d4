"""What this machine does in a second, what a job will take, what it took."""
