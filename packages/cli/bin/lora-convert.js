#!/usr/bin/env node
require('./start.js')(require('node:path').join(__dirname, '../dist/main-convert.cjs'));
