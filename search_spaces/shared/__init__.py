"""Fields that several recipes share: those of every network, and those of fine-tuning."""
