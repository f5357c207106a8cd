"""What a training may say: task, model, data, optimizer, schedule, engine, workers."""
