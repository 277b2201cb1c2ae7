"""What networks are made of: the backbone builder, its parts and constructors."""
