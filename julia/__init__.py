"""The Julia package of pyscore, as package data (no Python code here)."""
