"""What becomes of finished files: published in a folder, or packed for download."""
