"""Arrays -> token ids, and back."""
