"""What is done to a network before it is written: model in, model out."""
