@echo off
rem Loads the driver. As administrator, while nobody uses the folders.
fltmc load CacheFilter || exit /b 1
fltmc instances -f CacheFilter
