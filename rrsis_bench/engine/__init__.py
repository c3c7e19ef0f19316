"""The one LightningModule and what surrounds it."""
