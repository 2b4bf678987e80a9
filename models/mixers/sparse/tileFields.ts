import { z } from 'zod';

const extent = z.number().int().positive();

/** Extents of a tile in a configuration. */
export const tileField = (frames: number, rows: number, columns: number) =>
  z
    .strictObject({
      frames: extent.default(frames),
      rows: extent.default(rows),
      columns: extent.default(columns),
    })
    .prefault({});

/** Tiles of a static mask: they change its cost, and nothing else. */
export const tileFields = { queryTile: tileField(4, 4, 4), keyTile: tileField(4, 4, 4) };

/** Patches of one frame whose queries choose together. */
export const frameTileField = z
  .strictObject({ rows: extent.default(4), columns: extent.default(4) })
  .prefault({});

/** Frames before its own that a query of a causal mask chooses from. */
export const reachField = z.number().int().min(0).default(255);
