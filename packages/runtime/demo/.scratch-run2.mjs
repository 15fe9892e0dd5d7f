import { buildDemo } from './.scratch-build.mjs';

const out = await buildDemo('/tmp/demo/site');
for (const c of out) console.log(c.fileName, c.type, (c.code ?? c.source).length, c.imports, c.dynamicImports);
