"""Pure rules of the product, without database and Redis; all other packages may use them."""
