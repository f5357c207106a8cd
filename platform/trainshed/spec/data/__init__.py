"""What a prepare job may say, and pure rules over files and rows."""
