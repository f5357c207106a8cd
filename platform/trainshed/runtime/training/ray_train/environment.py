"""The environment variables of a training: those of its workers, and Ray Train's own knobs in the driver."""

WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "TOKENIZERS_PARALLELISM": "false"}

CONTROLLER_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # Ray's 2 s are half the time that a restart takes
    # The second line behind our heartbeat, which knows how busy a machine is; this one does not. Ray's own is 600.
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "400",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process; we are told by SIGTERM (`preemption.py`)
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "10",  # a group that finds no room is sized anew
    "RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0",  # the controller blocks on purpose: nothing else runs in its loop
    # A survivor that waits for a dead worker does not leave its process group: Ray Train would wait 30 s for it.
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "2",
}
