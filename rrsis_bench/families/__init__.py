"""Networks that several methods share. A family is a Method; its members change parts of it."""
