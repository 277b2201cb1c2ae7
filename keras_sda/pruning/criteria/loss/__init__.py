"""The loss of a model on a batch, and its gradients."""
