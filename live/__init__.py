"""The live loop: a thin driver around the two folds."""
