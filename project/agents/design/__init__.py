"""From a mood and a brand to a design system with proven contrast."""
