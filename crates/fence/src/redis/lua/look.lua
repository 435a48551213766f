-- What is remembered of a key.
if held then return {'HELD', stored} end
return {'NO'}
