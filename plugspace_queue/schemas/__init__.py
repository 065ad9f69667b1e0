"""The shapes that cross the border: what tasks take, what they give, how they look on the wire."""
