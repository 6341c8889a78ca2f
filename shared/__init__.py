"""What the generator and the trainer must agree on: specs, operations, encodings, scores, the wire format."""
