"""What a serve job may say."""
