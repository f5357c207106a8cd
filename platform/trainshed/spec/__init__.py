"""What a job may say: closed, frozen documents and pure arithmetic. No Ray, no torch, no files but the job's own."""
