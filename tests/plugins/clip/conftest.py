from tests.plugins.clip.tiny import copied, made, reference, video

__all__ = ["copied", "made", "reference", "video"]
