"""What `weights=` reads: files of ours, of Keras, timm and the papers' authors."""
