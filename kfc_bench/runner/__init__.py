"""Suite file -> cases -> workers -> journal; it knows no experiment by name."""
