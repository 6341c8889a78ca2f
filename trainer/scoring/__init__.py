"""A trained model -> its answers, their scores, and where they fail."""
