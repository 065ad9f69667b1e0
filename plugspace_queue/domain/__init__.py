"""What holds everywhere: rules of the product that every surface reads."""
