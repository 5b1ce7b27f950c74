"""Pictures and videos without a display."""
import numpy as np
import pytest

BALL = """<mujoco><worldbody><light pos="0 0 3"/><geom type="plane" size="1 1 .1" rgba=".2 .2 .2 1"/>
<body pos="0 0 .3"><freejoint/><geom size=".2" rgba="0 .45 .7 1"/></body></worldbody></mujoco>"""


@pytest.mark.gl
def test_mujoco_renders_offscreen():
    import mujoco

    model = mujoco.MjModel.from_xml_string(BALL)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    with mujoco.Renderer(model, 120, 160) as renderer:
        renderer.update_scene(data)
        picture = renderer.render()
    assert picture.shape == (120, 160, 3)
    assert picture.std() > 10, "the picture is blank"
    red, green, blue = picture[60, 80].astype(int)
    assert blue > red + 20, "the blue ball is not in the middle"


def test_video_survives_writing_and_reading(tmp_path):
    import imageio_ffmpeg
    import mediapy

    mediapy.set_ffmpeg(imageio_ffmpeg.get_ffmpeg_exe())
    frames = np.zeros((12, 48, 64, 3), np.uint8)
    for t, frame in enumerate(frames):
        frame[:, : 4 * t + 8] = (0, 114, 178)
    mediapy.write_video(tmp_path / "bar.mp4", frames, fps=12, qp=20)
    # not mediapy.read_video: mediapy 1.2.7 passes -vsync, which ffmpeg 9 no longer knows
    meta, *raw = imageio_ffmpeg.read_frames(tmp_path / "bar.mp4")
    assert meta["codec"] == "h264" and meta["size"] == (64, 48)
    again = np.stack([np.frombuffer(frame, np.uint8).reshape(48, 64, 3) for frame in raw])
    assert again.shape == frames.shape
    assert np.abs(again.astype(int) - frames).mean() < 6
