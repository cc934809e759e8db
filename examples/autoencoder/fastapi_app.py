# fastapi_app.py
from fastapi import FastAPI
from pydantic import BaseModel
import torch
from model import LitAutoEncoder  # your Lightning model

app = FastAPI()

# Load trained model
model = LitAutoEncoder.load_from_checkpoint("path/to/checkpoint.ckpt")
model.eval()

class InputData(BaseModel):
    data: list[float]

@app.post("/predict")
def predict(input: InputData):
    x = torch.tensor(input.data).unsqueeze(0)
    with torch.no_grad():
        z = model.encoder(x)
    return {"embedding": z.tolist()}
