"""What a training step will take, told before it runs."""
