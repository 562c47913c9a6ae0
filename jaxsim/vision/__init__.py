"""Everything that needs a network or a picture: models, training, datasets and feature extraction."""
