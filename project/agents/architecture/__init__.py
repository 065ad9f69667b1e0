"""From a wish in words to the plan of a site."""
