"""What the first page promises, with the tests that fail where it is false.

A sentence that is changed or added there needs its tests named here; a test that is renamed or removed is missed here.
"""

import ast

import pytest

from paths import ROOT

PROMISES = {
    "the same job on the same files does no work again": [
        "e2e/test_life_of_a_model.py::test_preparing_the_same_again_does_no_work",
    ],
    "A model in Hugging Face's format": [
        "e2e/test_life_of_a_model.py::test_transformers_opens_the_export_and_says_the_same",
    ],
    "its loss curve, hashed checkpoints": [
        "e2e/test_life_of_a_model.py::test_the_record_holds_what_the_run_left",
        "runtime/training/checkpoints/test_checkpoints.py::test_a_flipped_byte_is_found_and_the_checkpoint_before_is_used",
    ],
    "An OpenAI-compatible endpoint with a key, streaming and autoscaling": [
        "e2e/test_life_of_a_model.py::test_the_endpoint_wants_its_key_and_speaks_openai",
        "runtime/serving/test_endpoint.py::test_a_stream_arrives_while_it_is_generated",
        "runtime/serving/test_endpoint.py::test_load_brings_a_second_replica_and_the_queue_has_an_end",
    ],
    "each answer carries the fingerprint of its lineage": [
        "e2e/test_life_of_a_model.py::test_an_answer_leads_back_to_checkpoint_trial_code_configuration_and_data",
    ],
    "Every mistake in the file is reported at once": [
        "spec/test_load.py::test_all_faults_are_found_at_once_with_their_lines",
        "cli/test_bad_input.py::test_a_wrong_job_file_is_refused",
    ],
    "refuses a job that cannot fit": [
        "client/test_plans.py::test_what_is_too_large_for_any_vocabulary_is_refused",
        "cli/test_bad_input.py::test_what_the_plan_refuses_has_its_own_exit_code",
    ],
    "A worker that is killed or hangs is restarted from the last checkpoint": [
        "e2e/test_going_on.py::test_a_run_that_loses_its_follower_is_stopped_and_loses_a_worker_goes_on_with_what_follows_it",
        "faults/test_training_survives.py::test_a_training_that_thirty_faults_hit_equals_one_that_none_hit",
    ],
    "A NaN loss rolls back to the last checkpoint and skips the batch": [
        "runtime/training/loop/test_loop.py::test_a_poisoned_batch_is_left_out_and_the_run_finishes",
    ],
    "no finished trial is lost or run twice": [
        "e2e/test_sweeps_go_on.py::test_three_dead_drivers_lose_and_repeat_no_trial",
        "e2e/test_sweep_ends.py::test_a_sweep_that_is_stopped_and_has_no_budget_left_goes_on",
    ],
    "Python 3.11, 3.12 or 3.13": [
        "test_setup.py::test_a_python_that_the_pins_support_is_taken_the_one_that_tests_run_on_first",
    ],
    "make setup TORCH=cpu": [
        "test_setup.py::test_torch_comes_from_pytorchs_own_index_where_the_user_says_so_and_before_all_that_wants_it",
    ],
    "does nothing the second time": ["test_setup.py::test_setup_says_one_line_a_step"],
    "text files, JSON lines, CSV, or images in one folder per class": [
        "runtime/data/test_examples.py::test_a_csv_line_is_a_sample",
        "runtime/data/test_examples.py::test_a_json_line_is_a_sample_and_a_missing_field_is_named",
        "runtime/data/test_prepare.py::test_folders_of_images_become_samples_of_their_classes",
    ],
    "A Python class beside the job file defines the loss and the metrics": [
        "examples/test_examples.py::test_the_task_of_ones_own_promises_what_its_quantile_says",
    ],
    "It trains, sweeps, checkpoints and recovers like a built-in one": [
        "e2e/test_sweep_ends.py::test_a_trial_that_stands_still_or_has_no_memory_is_tried_again_and_a_steep_one_is_no_error_of_the_code",
        "e2e/test_sweep_ends.py::test_a_sweep_that_is_stopped_and_has_no_budget_left_goes_on",
        "e2e/test_sweep_ends.py::test_errors_of_the_code_end_a_sweep_after_a_stated_number",
    ],
    "stops bad trials early": [
        "e2e/test_sweep_results.py::test_a_model_is_registered_also_where_the_best_trial_was_stopped_early_or_stopped_itself",
    ],
    "from a sweep to its report": [
        "runtime/tuning/report/test_sweep_report.py::test_a_report_is_written_for_few_trials_and_for_many",
    ],
    "works out memory for each ZeRO stage": [
        "spec/plan/test_plan.py::test_states_fall_strictly_with_the_stage",
        "runtime/training/loop/test_memory_use.py::test_states_that_are_split_are_those_of_the_plan",
    ],
    "its token is `RAY_AUTH_TOKEN`": [
        "client/test_address.py::test_the_order_is_option_then_platform_then_ray_then_local",
        "client/test_address.py::test_a_remote_token_comes_from_the_variable_then_the_named_file_then_rays_own",
        "client/test_jobs_api.py::test_a_job_runs_our_own_code_from_the_package",
    ],
    "from a folder of text files to an HTTP endpoint": [
        "e2e/test_examples.py::test_a_folder_of_text_becomes_an_endpoint_that_completes_it",
    ],
    "A [cluster profile]": ["cli/test_profiles.py::test_what_no_machine_can_hold_is_refused_with_3"],
    "The local cluster listens on loopback only": [
        "e2e/test_life_of_a_model.py::test_nothing_listens_where_another_machine_reaches_it",
    ],
    "ZeRO 0 to 3, DDP and FSDP with two workers over gloo": [
        "runtime/training/engines/test_engine_contract.py::test_an_engine_trains_like_plain_torch_resumes_exactly_and_exports",
    ],
    "Several Ray nodes on one machine stood in for machines that leave and join": [
        "faults/test_elastic.py::test_a_training_goes_on_with_one_machine_less_and_takes_in_a_new_one",
    ],
}
"""Words of README.md, whatever its line breaks: tests, from the folder of the tests."""


@pytest.mark.parametrize("words", PROMISES)
def test_a_promise_of_the_first_page_stands_there_and_has_its_tests(words):
    page = " ".join((ROOT / "README.md").read_text().split())
    assert words in page, "what the page says has changed: name the tests of what it says now"
    for test in PROMISES[words]:
        file, name = test.split("::")
        tree = ast.parse((ROOT / "tests" / file).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test
