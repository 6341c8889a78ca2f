"""What a command shows while it works, and at its end."""
