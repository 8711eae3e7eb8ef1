"""Style inversion: from white noise to what a network sees in an image."""
