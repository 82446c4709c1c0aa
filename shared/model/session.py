"""The model in ONNX Runtime: loading, checking, running. Says where it really runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from shared.model.analysis import ModelInfo
from shared.model.config import MODEL_FILE, ModelConfig, sha256_of

if TYPE_CHECKING:
    import onnxruntime

Provider = Literal["auto", "cpu", "cuda"]
WEIGHTS = Path(__file__).parent / "weights"


class ModelError(RuntimeError):
    """The model cannot be used as demanded: weights damaged or absent, or no GPU where one is required."""


class Model:
    """A loaded network with its configuration.

    Attributes
    ----------
    config : ModelConfig
        What ``model.json`` says.
    info : ModelInfo
        Name, version, sha256 and the execution provider that is really in use.
    """

    def __init__(self, config: ModelConfig, session: onnxruntime.InferenceSession) -> None:
        self.config = config
        self._session = session
        self.info = ModelInfo(
            name=config.name,
            version=config.version,
            sha256=config.sha256,
            provider=session.get_providers()[0],
        )

    @classmethod
    def shipped(cls, *, provider: Provider = "auto", threads: int = 0) -> Model:
        """The model that comes with the service; see `load`."""
        return cls.load(WEIGHTS, provider=provider, threads=threads)

    @classmethod
    def load(cls, folder: Path, *, provider: Provider = "auto", threads: int = 0) -> Model:
        """Load ``model.onnx`` and ``model.json`` of a folder.

        Parameters
        ----------
        folder : Path
            Folder of the two files.
        provider : {"auto", "cpu", "cuda"}
            ``auto`` takes CUDA where it works and the CPU elsewhere.
        threads : int
            Threads inside one operator; 0 means one per core.

        Raises
        ------
        ModelError
            Files are missing or do not belong together, or CUDA is demanded and not there.
        """
        import onnxruntime as ort

        path = folder / MODEL_FILE
        try:
            config = ModelConfig.read(folder)
            digest = sha256_of(path)
        except (OSError, ValueError) as error:
            raise ModelError(f"no usable model in {folder.name}: {error}") from error
        if digest != config.sha256:
            raise ModelError(f"{MODEL_FILE} is not the file that model.json describes (sha256 differs)")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        options.inter_op_num_threads = 1
        # threads that wait by spinning take CPU time from the workers beside this one
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        wanted = ["CUDAExecutionProvider"] if provider != "cpu" else []
        wanted = [name for name in wanted if name in ort.get_available_providers()]
        if wanted:
            # CUDA and cuDNN come as Python packages (requirements/gpu.txt), where no loader looks by itself
            ort.preload_dlls()
        try:
            session = ort.InferenceSession(path, options, providers=[*wanted, "CPUExecutionProvider"])
        except Exception as error:  # the runtime raises its own untyped kinds
            raise ModelError(f"the model cannot be loaded: {error}") from error
        # ONNX Runtime falls back to the CPU silently: what counts is what the session says
        if provider == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
            raise ModelError("CUDA is demanded (CT_PROVIDER=cuda), but ONNX Runtime cannot use it here")
        return cls(config, session)

    def logits(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw logits of the cells.

        Parameters
        ----------
        hu : ndarray of float32, shape (n, k, h, w)
            HU on the model's grid; h and w are multiples of the stride.

        Returns
        -------
        ndarray of float32, shape (n, h / stride, w / stride)
        """
        (out,) = self._session.run(None, {self._session.get_inputs()[0].name: hu})
        return np.asarray(out, dtype=np.float32)[:, 0]
