"""Engines that divide what several ranks train: FSDP2, and DeepSpeed where it is installed; with gloo on the CPU."""

from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch.distributed.fsdp import FSDPModule
from transformers import Trainer, TrainingArguments

from exact_resume.matrix.distributed_pieces import OrderedModel
from exact_resume.matrix.scenarios.base import ALL, DROPOUT, PER_STEP, Scenario, noise
from exact_resume.matrix.scenarios.distributed import ARGUMENTS, INTERRUPTS, SIZE, evaluation


class ShardingTrainer(Trainer):
    """Applies FSDP2 on the CPU too, where Accelerate would silently use DDP (`AcceleratorState.__init__`)."""

    def create_accelerator_and_postprocess(self) -> None:
        super().create_accelerator_and_postprocess()
        state = self.accelerator.state
        PartialState._shared_state["distributed_type"] = state.distributed_type = DistributedType.FSDP
        state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
        if state.mixed_precision != "no":
            state.fsdp_plugin.set_mixed_precision(state.mixed_precision)
        self.is_fsdp_enabled = True

    def training_step(self, model, *args, **kwargs):
        if not isinstance(model, FSDPModule):
            raise AssertionError("the model is not sharded")
        return super().training_step(model, *args, **kwargs)


def _fsdp() -> list[Scenario]:
    def scenario(name: str, title: str, fixed_by: str | None, arguments=None, config=None, **options) -> Scenario:
        config = {"version": 2, "auto_wrap_policy": "NO_WRAP", **(config or {})}
        options = {
            "dataset": noise(*ALL, size=SIZE),
            "model": DROPOUT,
            "num_processes": 2,
            "interrupts": INTERRUPTS,
            **options,
        }
        return Scenario(
            f"fsdp_{name}",
            f"FSDP2: {title}",
            "distributed",
            fixed_by,
            trainer_class=ShardingTrainer,
            arguments={**ARGUMENTS, "fsdp": True, "fsdp_config": config, **(arguments or {})},
            tier="suite",
            lacks=None if hasattr(TrainingArguments, "_process_fsdp_args") else "no FSDP2 but from the environment",
            **options,
        )

    sharded = {"state_dict_type": "SHARDED_STATE_DICT"}
    wrapped = {"auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "transformer_layer_cls_to_wrap": ["Linear"]}
    evaluated = {"eval_on_start": True, "eval_strategy": "steps", "eval_steps": 1}
    ordered = {"model": OrderedModel}
    four = {"num_processes": 4, "interrupts": (1, 2, 3)}
    return [
        scenario("dropout", "dropout only", None, dataset=noise(size=SIZE)),
        scenario("noise", "all noise", PER_STEP),
        scenario("sharded", "sharded state dict", PER_STEP, config=sharded),
        scenario("wrapped", "layers wrapped, 4 ranks", PER_STEP, config=wrapped, **ordered, **four),
        scenario(
            "sharded_4", "sharded state dict, 4 ranks", PER_STEP, config={**wrapped, **sharded}, **ordered, **four
        ),
        scenario("bf16", "mixed precision", PER_STEP, {"bf16": True}, **ordered),
        scenario(
            "accumulation", "accumulation 2", PER_STEP, {"gradient_accumulation_steps": 2}, interrupts=(1, 2, 4, 6)
        ),
        scenario(
            "checkpointed",
            "activations computed again",
            PER_STEP,
            config={**wrapped, "activation_checkpointing": True},
            **ordered,
        ),
        scenario("evaluated", "an evaluation on start", PER_STEP, evaluated, trainer_options=evaluation),
    ]


def _deepspeed() -> list[Scenario]:
    def scenario(name: str, title: str, fixed_by: str | None, stage: int, **options) -> Scenario:
        config = {
            "zero_optimization": {"stage": stage},
            "zero_allow_untested_optimizer": True,
            **dict.fromkeys(
                ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "gradient_clipping"), "auto"
            ),
        }
        arguments = {**ARGUMENTS, "deepspeed": config, **options.pop("arguments", {})}
        options = {"model": DROPOUT, "dataset": noise(*ALL, size=SIZE), "interrupts": INTERRUPTS, **options}
        return Scenario(
            f"deepspeed_{name}",
            f"DeepSpeed: {title}",
            "distributed",
            fixed_by,
            arguments=arguments,
            num_processes=2,
            requires=("deepspeed",),
            tier="suite",
            **options,
        )

    accumulate = {"arguments": {"gradient_accumulation_steps": 2}, "interrupts": (1, 2, 4, 6)}
    return [
        scenario("dropout", "ZeRO 2, dropout only", None, 2, dataset=noise(size=SIZE)),
        scenario("zero_1", "ZeRO 1", PER_STEP, 1),
        scenario("zero_2", "ZeRO 2, accumulation 2", PER_STEP, 2, **accumulate),
        scenario("zero_3", "ZeRO 3", PER_STEP, 3),
    ]


def scenarios() -> list[Scenario]:
    """Models and optimizers that are divided among ranks."""
    return _fsdp() + _deepspeed()
