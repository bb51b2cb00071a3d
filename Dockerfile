# The image of the page: slim, without root, without downloads at run time.
#   docker build -t rembg-tuner . && docker run --rm -p 7860:7860 rembg-tuner
FROM python:3.11-slim

# Hugging Face Spaces runs containers as user 1000; numba and OpenVINO cache compiled code below
# HOME.
RUN useradd --create-home --uid 1000 user
USER user
ENV HOME=/home/user \
    PATH=/home/user/.local/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /home/user/app

COPY --chown=user requirements.txt .
RUN pip install --user -r requirements.txt

COPY --chown=user . .
# The model is in the repository. Two runs fill the caches, so that the first visitor does not wait
# for the compilation of OpenVINO's model, and of numba's code, which takes most of a minute at the
# first import of rembg.
RUN python -m rembg_tuner cut examples/astronaut.png -o /tmp/warm.png \
 && python -m rembg_tuner cut examples/astronaut.png --preset article-light -o /tmp/warm.png \
 && rm /tmp/warm.png

EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/healthz', timeout=4)"]
CMD ["python", "app.py", "--host", "0.0.0.0", "--port", "7860"]
