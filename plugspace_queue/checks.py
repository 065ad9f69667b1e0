"""System checks of the app."""
