#!/usr/bin/env node
import '../dist/main-convert.js';
