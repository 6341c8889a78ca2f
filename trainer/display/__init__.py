"""What is shown while a command works, and at its end."""
