#!/usr/bin/env node
require('../dist/main-convert.cjs');
