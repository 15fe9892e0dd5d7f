/**
 * Writes packages/trainer/schema/run-config.schema.json from the built trainer: `node scripts/training-run-schema.mjs`
 * (after `npm run build`). A test compares the two.
 */
import fs from 'node:fs';
import { runConfigJsonSchema } from '../packages/trainer/dist/run/config/run-config-json-schema.js';

const target = new URL('../packages/trainer/schema/run-config.schema.json', import.meta.url);
fs.writeFileSync(target, `${JSON.stringify(runConfigJsonSchema(), undefined, '\t')}\n`);
