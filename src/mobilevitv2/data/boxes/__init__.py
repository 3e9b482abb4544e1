"""Images with boxes: Pascal VOC's XML, COCO's JSON, YOLO's text files."""
