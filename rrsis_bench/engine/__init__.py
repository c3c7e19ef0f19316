"""The LightningModule of all methods, and the code that trains and tests with it."""
