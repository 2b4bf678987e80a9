import { BatchBuilder } from '../../ingest/eventBatch.js';
import { defineAugmentation } from './augmentation.js';

/**
 * Turns the window about the sensor's middle, by an angle that is drawn from -`degrees` to `degrees` (Li et
 * al., Neuromorphic data augmentation for training spiking neural networks, ECCV 2022). Places are rounded to
 * whole pixels; events that leave the sensor are dropped.
 */
export const rotate = defineAugmentation({
  name: 'rotate',
  summary: 'turn everything about the middle',
  arguments: [{ name: 'degrees', minimum: 0, maximum: 180, what: 'greatest angle, degrees' }],
  create:
    ({ degrees }) =>
    (window, random) => {
      const angle = ((2 * random.uniform() - 1) * degrees * Math.PI) / 180;
      const [sine, cosine] = [Math.sin(angle), Math.cos(angle)];
      const { length, sensor, tUs, x, y, polarity } = window.events;
      const middleX = (sensor.width - 1) / 2;
      const middleY = (sensor.height - 1) / 2;
      const turned = new BatchBuilder(sensor, length);
      for (let i = 0; i < length; i++) {
        const [dx, dy] = [x[i] - middleX, y[i] - middleY];
        const column = Math.round(middleX + cosine * dx - sine * dy);
        const row = Math.round(middleY + sine * dx + cosine * dy);
        const inside = column >= 0 && column < sensor.width && row >= 0 && row < sensor.height;
        if (inside) turned.push(tUs[i], column, row, polarity[i]);
      }
      return { ...window, events: turned.take() };
    },
});
