"""How well predictions agree with what people annotated. The metrics are COCO's."""
