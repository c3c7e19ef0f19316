"""Named, versioned perturbations of images and expressions, for robustness tests."""
