"""Reading a Keras model: its calls, nodes, inputs, head and scope."""
